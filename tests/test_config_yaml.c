/* Hostile YAML ends with a message, never with a crash, and quickly. */
#include "tests/mfg_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/yaml_tree.h"

static void Refused(size_t length, const char *bytes, const char *message) {
  MFGYAMLTree tree;
  MFGConfigErrors errors = {0};
  MFG_OK(MFGYAMLParse("f.yaml", length, bytes, &tree, &errors));
  assert_null(tree.root);
  assert_true(errors.count >= 1);
  if (!strstr(errors.text, message)) fail_msg("expected '%s', got '%.300s'", message, errors.text);
  MFG_OK(MFGYAMLDestroy(&tree));
  MFG_OK(MFGConfigErrorsDestroy(&errors));
}

static char *Fill(size_t length, const char *pattern) {
  const size_t n = strlen(pattern);
  char *text = malloc(length);
  for (size_t i = 0; i < length; i++) text[i] = pattern[i % n];
  return text;
}

static void TestSizes(void **state) {
  static const struct {
    const char *pattern, *message;
  } cases[] = {{"[", "nested too deep"}, {"{", "error: "},          {"a: ", "error: "},
               {"? ", "error: "},        {"- ", "nested too deep"}, {"\n", "nothing is in it"},
               {"[],", "error: "},       {"'", "error: "},          {"&a ", "error: "},
               {"%", "error: "},         {"\"\\", "error: "}};

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *text = Fill(100000, cases[i].pattern);
    Refused(100000, text, cases[i].message);
    free(text);
  }
  char *large = Fill(MFG_YAML_MAX_BYTES + 1, "#");
  Refused(MFG_YAML_MAX_BYTES + 1, large, "larger than 1 MiB");
  free(large);
}

static void TestManyKeys(void **state) {
  char *text = malloc(40000), *c = text;

  (void)state;
  for (int i = 0; i < 1100; i++) c += sprintf(c, "key%d: 1\n", i);
  Refused((size_t)(c - text), text, "too many keys");
  c = text + sprintf(text, "a: [");
  for (int i = 0; i < 1100; i++) c += sprintf(c, "1, ");
  c += sprintf(c, "1]\n");
  Refused((size_t)(c - text), text, "the list is too long");
  free(text);
}

/* Each prefix of a valid text, and each with one byte changed, is read or refused. */
static void TestMutations(void **state) {
  const char text[] =
      "a: {b: [1, \"x\\u00e9\", 'y'], c: >\n  folded\n  text\n}\nd: |\n  block\n\xc3\xa9: 1\n";
  const size_t n = sizeof text - 1;

  (void)state;
  for (size_t i = 0; i < n; i++)
    for (int byte = -1; byte < 256; byte += byte < 0 ? 1 : 7) {
      char copy[sizeof text];
      MFGYAMLTree tree;
      MFGConfigErrors errors = {0};
      memcpy(copy, text, sizeof copy);
      if (byte >= 0) copy[i] = (char)byte;
      MFG_OK(MFGYAMLParse("f.yaml", byte < 0 ? i : n, copy, &tree, &errors));
      assert_true((tree.root != NULL) == (errors.count == 0));
      MFG_OK(MFGYAMLDestroy(&tree));
      MFG_OK(MFGConfigErrorsDestroy(&errors));
    }
}

/* What a file contains must not reach the terminal as control characters. */
static void TestNoControls(void **state) {
  MFGConfigErrors errors = {0};

  (void)state;
  MFG_OK(MFGConfigErrorsAdd(&errors, "f", "bad '%s'", "\x1b[2J\r\n"));
  assert_null(strchr(errors.text, 0x1b));
  assert_string_equal(errors.text, "f: error: bad '?[2J?\?'\n");
  MFG_OK(MFGConfigErrorsDestroy(&errors));
  /* One of two bytes, U+009B, and what is not UTF-8. */
  MFG_OK(MFGConfigErrorsAdd(&errors, "f", "%s",
                            "\xc2\x9b\x31m \xe9 \xc3\xa9 \xe2\x80\xa8 \xed\xa0\x80"));
  assert_string_equal(errors.text, "f: error: ?\?1m ? \xc3\xa9 ?\?? ?\??\n");
  for (int i = 0; i < 3 * MFG_MAX_ERRORS; i++) MFG_OK(MFGConfigErrorsAdd(&errors, "f", "x"));
  assert_true(strlen(errors.text) < 100 * MFG_MAX_ERRORS);
  assert_int_equal(errors.count, 3 * MFG_MAX_ERRORS + 1);
  MFG_OK(MFGConfigErrorsDestroy(&errors));
}

/* Some editors put U+FEFF before the text. */
static void TestByteOrderMark(void **state) {
  MFGYAMLTree tree;
  MFGConfigErrors errors = {0};

  (void)state;
  const char *text = "\xef\xbb\xbfkey: 1\nother: 2\n";
  MFG_OK(MFGYAMLParse("f.yaml", strlen(text), text, &tree, &errors));
  assert_int_equal(errors.count, 0);
  assert_non_null(tree.root);
  assert_string_equal(tree.root->child[0]->key, "key");
  assert_true(tree.root->child[0]->key_line == 1 && tree.root->child[0]->key_column == 1);
  MFG_OK(MFGYAMLDestroy(&tree));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(TestByteOrderMark), cmocka_unit_test(TestSizes),
    cmocka_unit_test(TestManyKeys), cmocka_unit_test(TestMutations),
    cmocka_unit_test(TestNoControls)};
MFG_TEST_MAIN(tests)
