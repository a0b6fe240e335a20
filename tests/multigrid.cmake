mfg_test(multigrid.operator SOURCE test_multigrid_operator.c STANDIN 1 2 WATCHED 1 NP 1 2 3 4 LABELS unit parallel TIMEOUT 300)
mfg_test(multigrid.cycles SOURCE test_multigrid_cycles.c NP 1 2 3 4 LABELS unit parallel TIMEOUT 300)
mfg_test(multigrid.large SOURCE test_multigrid_cycles.c LABELS slow TIMEOUT 300 ARGS large)
mfg_test(multigrid.passes SOURCE test_star_passes.c STANDIN 1 2 WATCHED 1 NP 1 2 LABELS unit parallel)
