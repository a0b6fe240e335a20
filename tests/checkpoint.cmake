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
mfg_checkpoint_test(restart 1)
mfg_checkpoint_test(mismatch 2)
mfg_checkpoint_test(damage 1)
mfg_checkpoint_test(hostile 1)
