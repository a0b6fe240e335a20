/* Stands in for NVTX: ranges are counted. */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

/* Both return the depth, or -1 where none is open. */
int nvtxRangePushA(const char *message) __asm__("standin_nvtxRangePushA");
int nvtxRangePop(void) __asm__("standin_nvtxRangePop");

#ifdef __cplusplus
}
#endif
