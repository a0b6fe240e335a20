# Only in the sanitizer build: MPI and PETSc pass, a leak of ours does not, nor one of a PETSc object
# (ASAN_OPTIONS=fast_unwind_on_malloc=0 shows where it was made, slowly).
if(MFG_SANITIZE)
  mfg_test(sanitize.no_leak SOURCE test_sanitize_leak.c NP 1 2 LABELS unit)
  foreach(leak block vector)
    mfg_test(sanitize.${leak}_leak SOURCE test_sanitize_leak.c NP 1 2 LABELS unit ARGS ${leak})
  endforeach()
  set_tests_properties(sanitize.block_leak.cpu.np1 sanitize.block_leak.cpu.np2 PROPERTIES
    PASS_REGULAR_EXPRESSION "Direct leak of 1234 byte.* in LeakBlock")
  set_tests_properties(sanitize.vector_leak.cpu.np1 sanitize.vector_leak.cpu.np2 PROPERTIES
    PASS_REGULAR_EXPRESSION "Direct leak of .* in PetscMallocAlign")
endif()
