# What the build promises to refuse, and that an installed program can be moved.
foreach(case accepts refuses_open_mpi refuses_open_mpi_launcher refuses_missing_petsc
    refuses_petsc_on_open_mpi refuses_serial_hdf5 refuses_hdf5_on_open_mpi refuses_hdf5_linked_to_open_mpi install)
  add_test(NAME build.${case}.cpu.np1
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/test_build.sh ${case} ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
  set_tests_properties(build.${case}.cpu.np1 PROPERTIES TIMEOUT 300 LABELS unit)
endforeach()
