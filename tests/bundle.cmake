# What jobs/bundle.sh packs, unpacked: complete, movable; in a bare root in the slow tests.
foreach(case unpacked bare_root)
  add_test(NAME bundle.${case}.cpu.np2
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/test_bundle.sh ${case} ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
  set_tests_properties(bundle.${case}.cpu.np2 PROPERTIES PROCESSORS 2 TIMEOUT 600 SKIP_RETURN_CODE 16 LABELS unit)
endforeach()
set_tests_properties(bundle.bare_root.cpu.np2 PROPERTIES LABELS slow TIMEOUT 1200)
