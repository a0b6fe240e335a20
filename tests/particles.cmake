add_executable(bench_sweep bench/bench_sweep.c)
target_link_libraries(bench_sweep PRIVATE mfg_solvers)

mfg_test(random.philox SOURCE test_random_philox.c LABELS unit)
mfg_test(random.normal SOURCE test_random_normal.c LABELS unit)
mfg_test(particles.point SOURCE test_particles_point.c LABELS unit)
mfg_test(particles.sweep SOURCE test_particles_sweep.c NP 1 2 3 4 7 LABELS unit parallel)
mfg_test(particles.physics SOURCE test_particles_physics.c NP 1 2 LABELS verification)
