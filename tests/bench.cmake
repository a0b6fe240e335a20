mfg_test(bench.clock SOURCE test_bench_clock.c LABELS unit)
add_executable(instructions bench/instructions.c)
target_link_libraries(instructions PRIVATE mfg_solvers)
string(REGEX MATCH "^[0-9]+" compiler_major "${CMAKE_C_COMPILER_VERSION}")
target_compile_definitions(instructions PRIVATE
  MFG_COMPILER_NAME="${CMAKE_C_COMPILER_ID} ${compiler_major}")
add_test(NAME bench.instructions.cpu.np1
  COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/bench/count_instructions.py
    $<TARGET_FILE:instructions> --build-type "${CMAKE_BUILD_TYPE}")
set_tests_properties(bench.instructions.cpu.np1 PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 16 LABELS bench)
