mfg_test(kde.accuracy SOURCE test_kde_accuracy.c STANDIN 1 LABELS unit)
mfg_test(kde.bits SOURCE test_kde_bits.c STANDIN 1 LABELS unit)
mfg_test(kde.statistics SOURCE test_kde_statistics.c STANDIN 1 WATCHED 1 LABELS unit)
