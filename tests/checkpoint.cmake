# Whole runs in parts: mfg_checkpoint_test(<case of test_checkpoint.py> <ranks> [labels])
function(mfg_checkpoint_test case ranks)
  set(test checkpoint.${case}.cpu.np${ranks})
  add_test(NAME ${test} COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/test_checkpoint.py
    $<TARGET_FILE:nashflow> ${MPIEXEC_EXECUTABLE} ${CMAKE_SOURCE_DIR}/input ${case} ${ranks})
  set_tests_properties(${test} PROPERTIES PROCESSORS ${ranks} TIMEOUT 300 SKIP_RETURN_CODE 16
    LABELS "parallel;io;${ARGN}")
endfunction()

mfg_checkpoint_test(parts 1)
mfg_checkpoint_test(parts 2)
mfg_checkpoint_test(elsewhere 2)
mfg_checkpoint_test(signals 2)
mfg_checkpoint_test(walltime 1)
mfg_checkpoint_test(seconds 2)
mfg_checkpoint_test(diagnostic 2)
mfg_checkpoint_test(guards 2)
mfg_checkpoint_test(restart 1)
mfg_checkpoint_test(mismatch 2)
mfg_checkpoint_test(damage 1)
mfg_checkpoint_test(hostile 1)
foreach(ranks 1 2)
  mfg_checkpoint_test(full_disk ${ranks})
  mfg_checkpoint_test(no_writing ${ranks})
endforeach()
# Buffers of MPI-IO that a site made small must not count: parts of a collective call would be written apart.
mfg_test(disk.failure SOURCE test_disk_failure.c NP 1 2 3 LABELS unit parallel io TIMEOUT 300
  ARGS -dir ${CMAKE_CURRENT_BINARY_DIR})
target_link_libraries(test_disk_failure PRIVATE ${CMAKE_DL_LIBS})
foreach(np 1 2 3)
  set_property(TEST disk.failure.cpu.np${np} APPEND PROPERTY ENVIRONMENT
    ROMIO_HINTS=${CMAKE_CURRENT_SOURCE_DIR}/romio_hints.txt)
endforeach()
