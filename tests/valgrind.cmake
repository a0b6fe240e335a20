# Memcheck of a small run: no invalid or uninitialised access and no lost block of ours. valgrind knows AVX2 at most.
find_program(VALGRIND valgrind)
if(VALGRIND AND NOT MFG_SANITIZE)
  set(memcheck ${VALGRIND} -q --error-exitcode=99 --num-callers=30 --leak-check=full --show-leak-kinds=definite
    --errors-for-leak-kinds=definite --suppressions=${CMAKE_CURRENT_SOURCE_DIR}/valgrind.supp)
  foreach(np 1 2)
    add_test(NAME valgrind.run.cpu.np${np} COMMAND ${MPIEXEC_EXECUTABLE} -n ${np} ${memcheck} $<TARGET_FILE:nashflow>
      run ${CMAKE_CURRENT_SOURCE_DIR}/valgrind.yaml --output ${CMAKE_CURRENT_BINARY_DIR}/valgrind_np${np})
    set_tests_properties(valgrind.run.cpu.np${np} PROPERTIES PROCESSORS ${np} TIMEOUT 600 ENVIRONMENT MFG_CPU=v3)
  endforeach()
  set_tests_properties(valgrind.run.cpu.np1 PROPERTIES LABELS unit)
  set_tests_properties(valgrind.run.cpu.np2 PROPERTIES LABELS slow)
endif()
