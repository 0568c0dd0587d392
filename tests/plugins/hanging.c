/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * A plugin whose constructor does not return before the standard input ends.
 */
#include <unistd.h>

#include "faulty_table.c"

__attribute__((constructor)) static void hang(void) {
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
}
