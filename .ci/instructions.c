// A plugin of qemu-user that counts the instructions executed in each function and
// writes the counts to a file at the end: -plugin instructions.so,out=FILE. It uses the
// interface of qemu 7.2 to 9.0.
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The part of qemu-plugin.h that is used here. No package of Debian has the header.
typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct qemu_info_t qemu_info_t;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
typedef void (*tb_callback)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*end_callback)(qemu_plugin_id_t, void *);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_callback);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, end_callback, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, enum qemu_plugin_op, void *, uint64_t);

int qemu_plugin_version = 1;

struct function {
	const char *name;
	uint64_t count;
	struct function *next;
};

static struct function *functions;
static FILE *out;

static uint64_t *counter(const char *name)
{
	for (struct function *f = functions; f; f = f->next)
		if (!strcmp(f->name, name))
			return &f->count;
	struct function *f = calloc(1, sizeof *f);
	f->name = strdup(name);
	f->next = functions;
	functions = f;
	return &f->count;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		const char *name = qemu_plugin_insn_symbol(insn);
		qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, counter(name ? name : "?"), 1);
	}
}

static void ended(qemu_plugin_id_t id, void *unused)
{
	for (struct function *f = functions; f; f = f->next)
		fprintf(out, "%" PRIu64 " %s\n", f->count, f->name);
	fclose(out);
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	if (argc != 1 || strncmp(argv[0], "out=", 4) || !(out = fopen(argv[0] + 4, "w")))
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, ended, NULL);
	return 0;
}
