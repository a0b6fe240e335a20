# The job scripts on a Slurm of one's own: mfg_slurm_test(<case of slurm/run.py> <ranks>)
function(mfg_slurm_test case ranks)
  set(test slurm.${case}.cpu.np${ranks})
  add_test(NAME ${test} COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/slurm/run.py
    $<TARGET_FILE:nashflow> ${MPIEXEC_EXECUTABLE} ${CMAKE_SOURCE_DIR} ${case})
  set_tests_properties(${test} PROPERTIES PROCESSORS 2 TIMEOUT 300 SKIP_RETURN_CODE 16 LABELS slurm)
endfunction()

if(MFG_SANITIZE) # these try the scripts; the program is tried by its own tests
  return()
endif()
foreach(case launch wrong_mpi killed_rank requeue early walltime cancel gpu chain)
  mfg_slurm_test(${case} 2)
endforeach()
mfg_slurm_test(sweep 1)
mfg_slurm_test(lost_node 2)
set_tests_properties(slurm.lost_node.cpu.np2 PROPERTIES LABELS "slurm;slow")
