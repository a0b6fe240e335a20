# The results that the readers below read are written at every rank count into folders of their own.
set(output_data ${CMAKE_CURRENT_BINARY_DIR}/output)
foreach(np 1 2 3 4)
  set(data ${output_data}/np${np})
  file(MAKE_DIRECTORY ${data})
  mfg_test(output.write SOURCE test_output_write.c NP ${np} LABELS unit parallel io TIMEOUT 300 ARGS -dir ${data})
  set_tests_properties(output.write.cpu.np${np} PROPERTIES FIXTURES_SETUP output_np${np})
  mfg_test(output.failure SOURCE test_output_failure.c NP ${np} LABELS unit parallel io TIMEOUT 300 ARGS -dir ${data})
  mfg_test(output.read_flow SOURCE test_output_flow.c NP ${np} LABELS unit parallel io TIMEOUT 300 ARGS -dir ${data})
  # The fixtures of both would write the same files at once.
  set_tests_properties(output.write.cpu.np${np} output.failure.cpu.np${np} output.read_flow.cpu.np${np}
    PROPERTIES RESOURCE_LOCK output_np${np})
endforeach()

function(mfg_python_test name script)
  cmake_parse_arguments(T "" "" "FIXTURE;ARGS" ${ARGN})
  add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/${script} ${T_ARGS})
  set_tests_properties(${name} PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 16 LABELS "unit;io"
    FIXTURES_REQUIRED "${T_FIXTURE}")
endfunction()

foreach(np 1 2 3 4)
  mfg_python_test(output.read.cpu.np${np} test_output_read.py FIXTURE output_np${np} ARGS ${output_data}/np${np})
endforeach()
mfg_python_test(output.same_bits.cpu.np4 test_output_same_bits.py
  FIXTURE output_np1 output_np2 output_np3 output_np4
  ARGS ${output_data}/np1 ${output_data}/np2 ${output_data}/np3 ${output_data}/np4)
mfg_python_test(output.xdmf.cpu.np2 test_output_xdmf.py FIXTURE output_np2 ARGS ${output_data}/np2)
mfg_python_test(postprocess.scripts.cpu.np1 test_postprocess.py FIXTURE output_np1
  ARGS ${output_data}/np1 ${CMAKE_SOURCE_DIR}/postprocess $<TARGET_FILE:nashflow> ${CMAKE_SOURCE_DIR}/input)
