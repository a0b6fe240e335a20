mfg_test(kde.accuracy SOURCE test_kde_accuracy.c LABELS unit)
mfg_test(kde.statistics SOURCE test_kde_statistics.c LABELS unit)
