mfg_test(anderson.linear SOURCE test_anderson.c NP 1 2 3 LABELS unit)
mfg_test(smoothing.modes SOURCE test_smoothing.c NP 1 2 LABELS unit parallel)
mfg_test(equilibrium.resume SOURCE test_equilibrium_resume.c NP 1 2 LABELS unit parallel)
mfg_test(newton.derivative SOURCE test_newton_derivative.c NP 1 2 LABELS unit parallel)

# Whole runs of the program: mfg_run_test(<case of test_runs.py> <ranks> <labels>)
function(mfg_run_test case ranks labels)
  set(test run.${case}.cpu.np${ranks})
  add_test(NAME ${test} COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/test_runs.py
    $<TARGET_FILE:nashflow> ${MPIEXEC_EXECUTABLE} ${CMAKE_SOURCE_DIR}/input ${case} ${ranks})
  set_tests_properties(${test} PROPERTIES PROCESSORS ${ranks} TIMEOUT 300 LABELS "${labels}")
endfunction()

foreach(ranks 2 3 4)
  mfg_run_test(ranks_1d ${ranks} parallel)
  mfg_run_test(ranks_2d ${ranks} parallel)
endforeach()
foreach(case rerun single torus_residual lq_variance peer honest_failure picard_damped fresh initial
    step_length given_drift moving_torus discrete_equations grid_methods grid_variance grid_paths exploitability
    exploitability_falls newton newton_agents continuation stalled)
  mfg_run_test(${case} 1 verification)
endforeach()
foreach(case rerun single fresh hjb_failure diverged unwritable lock dry_run decompositions traffic narrow_boxes)
  mfg_run_test(${case} 2 parallel)
endforeach()
mfg_run_test(grid_ranks 2 "parallel;verification")
mfg_run_test(fp_failure 2 parallel)
mfg_run_test(exploitability 2 parallel)
mfg_run_test(newton_agents_2d 2 "parallel;verification")
mfg_run_test(agents_and_grid 2 "verification;slow")
if(NOT MFG_SANITIZE) # whose shadow memory counts too
  mfg_run_test(memory 1 verification)
  mfg_run_test(memory 2 parallel)
endif()
mfg_run_test(devices 1 unit)
mfg_run_test(devices 2 parallel)
mfg_run_test(too_many_ranks 5 parallel)

foreach(case torus_1d torus_2d torus_3d noflux_2d heat_flow_2d heat_flow_3d lq_1d lq_mean_field_1d
    lq_log_1d)
  add_test(NAME verification.${case}.cpu.np2
    COMMAND ${MPIEXEC_EXECUTABLE} -n 2 $<TARGET_FILE:nashflow> verify ${case})
  set_tests_properties(verification.${case}.cpu.np2 PROPERTIES PROCESSORS 2 TIMEOUT 600 LABELS verification)
endforeach()
