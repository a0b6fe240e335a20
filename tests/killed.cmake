# kill -9 at random moments: mfg_killed_test(<property> <ranks> <kills> [labels])
function(mfg_killed_test property ranks kills)
  set(test checkpoint.${property}.cpu.np${ranks})
  add_test(NAME ${test} COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/test_killed.py
    $<TARGET_FILE:nashflow> ${MPIEXEC_EXECUTABLE} ${CMAKE_SOURCE_DIR}/input ${ranks} ${kills})
  set_tests_properties(${test} PROPERTIES PROCESSORS ${ranks} TIMEOUT 1500 LABELS "parallel;io;${ARGN}")
endfunction()

foreach(ranks 1 3)
  mfg_killed_test(killed ${ranks} 10)
  mfg_killed_test(killed_often ${ranks} 100 slow)
endforeach()
