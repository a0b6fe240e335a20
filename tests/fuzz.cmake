# Inputs of strangers. fuzz/run.sh looks for new ones with clang's libFuzzer; here the kept ones are tried again.
add_executable(fuzz_input fuzz/fuzz_input.c fuzz/replay.c)
target_link_libraries(fuzz_input PRIVATE mfg_app)
add_test(NAME fuzz.input_corpus.cpu.np1 COMMAND ${MPIEXEC_EXECUTABLE} -n 1 $<TARGET_FILE:fuzz_input>
  ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus ${bad_dir} ${input_dir})
set_tests_properties(fuzz.input_corpus.cpu.np1 PROPERTIES TIMEOUT 120 LABELS unit)

add_executable(read_h5 fuzz/read_h5.c)
target_link_libraries(read_h5 PRIVATE mfg_app)
function(mfg_mutated_test name kind count labels)
  add_test(NAME fuzz.${name}.cpu.np1 COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/try_mutated.py
    $<TARGET_FILE:read_h5> $<TARGET_FILE:nashflow> ${kind} ${count})
  set_tests_properties(fuzz.${name}.cpu.np1 PROPERTIES TIMEOUT 600 LABELS "${labels}")
endfunction()
foreach(kind flow field checkpoint)
  mfg_mutated_test(mutated_${kind} ${kind} 60 "unit;io")
  mfg_mutated_test(mutated_${kind}_1000 ${kind} 1000 "slow;io")
endforeach()
