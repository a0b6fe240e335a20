# About an hour: the source tree with one error planted at a time, rebuilt and tested.
add_test(NAME planted.errors.cpu.np1
  COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/planted_errors.py ${CMAKE_SOURCE_DIR}
    -DMPI_C_COMPILER=${MPI_C_COMPILER} -DMPIEXEC_EXECUTABLE=${MPIEXEC_EXECUTABLE})
set_tests_properties(planted.errors.cpu.np1 PROPERTIES PROCESSORS 2 TIMEOUT 5400 LABELS slow)
# Each of them still fits the sources.
add_test(NAME planted.texts.cpu.np1
  COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/planted_errors.py ${CMAKE_SOURCE_DIR} --check)
set_tests_properties(planted.texts.cpu.np1 PROPERTIES TIMEOUT 60 LABELS style)
