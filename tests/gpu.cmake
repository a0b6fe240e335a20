# The host stand-in of CUDA and NCCL itself: tests/gpu_on_host/README.md
foreach(test runtime faults races)
  set_source_files_properties(gpu_on_host/test_${test}.cu PROPERTIES LANGUAGE CXX)
  add_executable(test_gpu_on_host_${test} gpu_on_host/test_${test}.cu)
  target_link_libraries(test_gpu_on_host_${test} PRIVATE gpu_on_host_runtime PkgConfig::CMOCKA)
  if(test STREQUAL "runtime")
    set_source_files_properties(gpu_on_host/test_same_name.cu PROPERTIES LANGUAGE CXX)
    target_sources(test_gpu_on_host_runtime PRIVATE gpu_on_host/test_same_name.cu)
  elseif(test STREQUAL "races")
    target_link_libraries(test_gpu_on_host_races PRIVATE gpu_on_host_watch)
  endif()
  add_test(NAME gpu_on_host.${test}.standin.np1 COMMAND test_gpu_on_host_${test})
  set_tests_properties(gpu_on_host.${test}.standin.np1 PROPERTIES PROCESSORS 1 TIMEOUT 120 LABELS "gpu;unit")
endforeach()

add_executable(test_gpu_on_host_nccl gpu_on_host/test_nccl.c)
target_link_libraries(test_gpu_on_host_nccl PRIVATE gpu_on_host_runtime PkgConfig::PETSC PkgConfig::CMOCKA)
# mfg_nccl_test(<property> <ranks> [argument] [environment...])
function(mfg_nccl_test property np argument)
  set(test gpu_on_host.${property}.standin.np${np})
  add_test(NAME ${test}
    COMMAND ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${np} $<TARGET_FILE:test_gpu_on_host_nccl> ${argument})
  set_tests_properties(${test} PROPERTIES PROCESSORS ${np} TIMEOUT 60 LABELS "gpu;unit;parallel" ENVIRONMENT "${ARGN}")
endfunction()
foreach(np 1 2 3 4)
  mfg_nccl_test(nccl ${np} "")
endforeach()
mfg_nccl_test(nccl_early 3 "" MFG_STANDIN_SEED=1)
mfg_nccl_test(shared_device 2 shared MFG_STANDIN_SHARED_DEVICE=1)
mfg_nccl_test(mixed 2 mixed)
set_tests_properties(gpu_on_host.mixed.standin.np2 PROPERTIES PASS_REGULAR_EXPRESSION "NCCL wants both in graphs, or none")
mfg_nccl_test(hang 2 hang MFG_STANDIN_DEATH=1:2:hang)
mfg_nccl_test(remote_error 2 error MFG_STANDIN_DEATH=1:2:error)
set_tests_properties(gpu_on_host.hang.standin.np2 PROPERTIES PASS_REGULAR_EXPRESSION "rank 0: no answer")
set_tests_properties(gpu_on_host.remote_error.standin.np2 PROPERTIES
  PASS_REGULAR_EXPRESSION "rank 0: remote process exited")

# Facts of what nvcc made, without a GPU.
if(MFG_CUDA)
  add_test(NAME gpu.planted.cuda.np1
    COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/check_sass.py ${MFG_NVCC} --planted)
  set_tests_properties(gpu.planted.cuda.np1 PROPERTIES PROCESSORS 1 TIMEOUT 120 SKIP_RETURN_CODE 16 LABELS "gpu;unit")
endif()

# In the memory of the device, compared with the host: on the stand-in, and by a GPU.
# mfg_device_test(<name> <source> <timeout> <ranks...>)
function(mfg_device_test name source timeout)
  get_filename_component(target ${source} NAME_WE)
  mfg_test_program(${target} ${source} gpu_on_host)
  foreach(np ${ARGN})
    mfg_test_run(${name}.standin.np${np} ${np} ${target} ${timeout} "gpu;unit;parallel" "" MFG_TEST_BACKEND=cuda MFG_STANDIN_SEED=${np})
    mfg_test_cuda(${name} ${np} ${source} ${timeout} "gpu;unit;parallel" "")
  endforeach()
  foreach(np 1 2 3 4)
    mfg_test_seeds(${name} ${np} ${target} "gpu;unit;parallel" "")
  endforeach()
endfunction()
mfg_device_test(gpu.cycle test_gpu_cycle.c 120 1 2 3)
mfg_device_test(gpu.sweep test_gpu_sweep.c 300 1 2)
mfg_device_test(hjb.device test_hjb_device.c 300 1 2 3)
mfg_device_test(fp_grid.device test_fp_device.c 300 1 2 3)

# The whole program on the stand-in.
foreach(case bits shared refused restart value value_restart grid grid_memory grid_restart devices)
  add_test(NAME run.${case}.standin.np2 COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/gpu_on_host/whole_runs.py
    ${case} $<TARGET_FILE:nashflow_on_host> $<TARGET_FILE:nashflow> ${CMAKE_SOURCE_DIR} ${MPIEXEC_EXECUTABLE})
  set_tests_properties(run.${case}.standin.np2 PROPERTIES PROCESSORS 2 TIMEOUT 300 LABELS "gpu;verification;parallel")
endforeach()
foreach(case killed memory)
  add_test(NAME run.${case}.standin.np3 COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/gpu_on_host/whole_runs.py
    ${case} $<TARGET_FILE:nashflow_on_host> $<TARGET_FILE:nashflow> ${CMAKE_SOURCE_DIR} ${MPIEXEC_EXECUTABLE})
  set_tests_properties(run.${case}.standin.np3 PROPERTIES PROCESSORS 3 TIMEOUT 300 LABELS "gpu;verification;parallel")
endforeach()
add_test(NAME run.bits.watched.np2 COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/gpu_on_host/whole_runs.py
  bits $<TARGET_FILE:nashflow_watched> $<TARGET_FILE:nashflow> ${CMAKE_SOURCE_DIR} ${MPIEXEC_EXECUTABLE})
set_tests_properties(run.bits.watched.np2 PROPERTIES PROCESSORS 2 TIMEOUT 1200 LABELS "gpu;verification;parallel;slow")

# Cases with a known solution, to the bounds of `verify`: on the coarsest grid, all ranks and grids in the slow tests.
function(mfg_verify_on_host test np labels seed)
  add_test(NAME ${test} COMMAND ${MPIEXEC_EXECUTABLE} -n ${np} $<TARGET_FILE:nashflow_on_host> verify ${ARGN} --backend cuda)
  set_tests_properties(${test} PROPERTIES PROCESSORS ${np} TIMEOUT 1800 LABELS "gpu;verification;${labels}"
    ENVIRONMENT MFG_STANDIN_SEED=${seed})
endfunction()
foreach(case torus_1d noflux_2d lq_1d)
  mfg_verify_on_host(verification.${case}.standin.np1 1 "" 3 ${case} --resolutions 1)
  mfg_verify_on_host(verification.${case}.standin_s5.np1 1 slow 5 ${case})
  foreach(np 2 3 4)
    mfg_verify_on_host(verification.${case}.standin_s${np}.np${np} ${np} "parallel;slow" ${np} ${case} --resolutions 1)
  endforeach()
endforeach()

add_test(NAME bench.hjb.standin.np1 COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/gpu_on_host/whole_runs.py
  bench $<TARGET_FILE:nashflow_on_host> $<TARGET_FILE:nashflow> ${CMAKE_SOURCE_DIR} ${MPIEXEC_EXECUTABLE})
set_tests_properties(bench.hjb.standin.np1 PROPERTIES PROCESSORS 1 TIMEOUT 300 LABELS "gpu;bench")
# Standing agents, whose estimates also the bench makes.
add_test(NAME bench.kde.standin.np2 COMMAND ${MPIEXEC_EXECUTABLE} -n 2 $<TARGET_FILE:nashflow_on_host> bench kde --backend cuda)
set_tests_properties(bench.kde.standin.np2 PROPERTIES PROCESSORS 2 TIMEOUT 300 LABELS "gpu;bench;parallel;slow")

if(TARGET mfg_gpu)
  add_test(NAME gpu.sass.cuda.np1
    COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/check_sass.py ${MFG_NVCC} --list $<TARGET_OBJECTS:mfg_gpu>
    COMMAND_EXPAND_LISTS)
  set_tests_properties(gpu.sass.cuda.np1 PROPERTIES PROCESSORS 1 TIMEOUT 120 SKIP_RETURN_CODE 16 LABELS "gpu;unit")
endif()
