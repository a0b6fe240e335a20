set(input_dir ${CMAKE_SOURCE_DIR}/input)
set(bad_dir ${CMAKE_SOURCE_DIR}/tests/bad_input)

mfg_test(config.bad_input SOURCE test_config_bad_input.c NP 1 2 ARGS ${bad_dir} LABELS unit TIMEOUT 120)
mfg_test(config.round_trip SOURCE test_config_round_trip.c NP 1 3 ARGS ${input_dir} LABELS unit)
mfg_test(config.values SOURCE test_config_values.c NP 1 LABELS unit)
mfg_test(config.yaml SOURCE test_config_yaml.c NP 1 LABELS unit)
mfg_test(expression.values SOURCE test_expression_values.c NP 1 LABELS unit)
mfg_test(fields.values SOURCE test_fields_values.c NP 1 2 3 LABELS unit)
mfg_test(fields.dataset SOURCE test_fields_dataset.c NP 1 2 LABELS unit io)
mfg_test(cli.parse SOURCE test_cli_parse.c NP 1 LABELS unit)

# The same table through the whole program: exit codes, and nothing written.
if(Python3_FOUND)
  foreach(way "" _both)
    add_test(NAME config.bad_input_program${way}.cpu.np1 COMMAND ${Python3_EXECUTABLE} ${bad_dir}/run.py
      $<TARGET_FILE:nashflow> ${MPIEXEC_EXECUTABLE} 1 $<$<STREQUAL:${way},_both>:--both>
      COMMAND_EXPAND_LISTS)
    set_tests_properties(config.bad_input_program${way}.cpu.np1 PROPERTIES TIMEOUT 900 LABELS io)
  endforeach()
  set_tests_properties(config.bad_input_program_both.cpu.np1 PROPERTIES LABELS "io;slow")
endif()
