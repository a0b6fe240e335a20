# House rules that a machine can check.
foreach(check format layers paths words shell python readme)
  add_test(NAME style.${check}.cpu.np1
    COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/check_style.py ${CMAKE_SOURCE_DIR} ${check})
  set_tests_properties(style.${check}.cpu.np1 PROPERTIES TIMEOUT 60 SKIP_RETURN_CODE 16 LABELS style)
endforeach()
# Each check sees a planted breach.
add_test(NAME style.planted.cpu.np1
  COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/test_check_style.py ${CMAKE_SOURCE_DIR})
set_tests_properties(style.planted.cpu.np1 PROPERTIES TIMEOUT 60 SKIP_RETURN_CODE 16 LABELS style)
