/* Arrays that cross the process border in memfds. */
#pragma once

#include "ldm.h"

#include <gio/gunixfdlist.h>

/* The array float32 [1, height, width, channels] inside the memfd `fd`, mapped read-only, not
 * copied. The memfd has to be sealed against shrinking and growing (nobody can then pull the pages
 * away while they are read) and to be of exactly that size. `what` names it in messages. The
 * caller keeps `fd`. Free with pentimento_array_unmap, never with ldm_tensor_free. */
LdmTensor *pentimento_array_map(int fd, int width, int height, int channels, const char *what,
                                GError **error);
void pentimento_array_unmap(LdmTensor *array);

/* A new memfd with the tensor's bytes, sealed against every change; -1 on error. */
int pentimento_array_share(const LdmTensor *tensor, const char *what, GError **error);

/* The handle `name` of an a{sh}; a new descriptor, -1 without error where the name is absent, -1
 * with error where the message lacks the descriptor. */
int pentimento_handle_get(GVariant *handles, const char *name, GUnixFDList *list, GError **error);

/* The process a pidfd stands for: > 0; 0 where it has ended already; -1 where it is no pidfd. */
int pentimento_pidfd_process(int fd);
