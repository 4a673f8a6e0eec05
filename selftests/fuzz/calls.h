/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The table of all calls that a program may consist of: their parameters, where
 * these lie in the structure of an operation, and which errors the interface's
 * header documents.
 */
#ifndef FUZZ_CALLS_H
#define FUZZ_CALLS_H

#include "program.h"

/* What a parameter is: how a sensible value for it is made up */
enum parameter_type {
	P_SESSION,
	P_DESCRIPTOR,
	P_CHILD,
	P_HANDLE,		/* an object */
	P_VALUE,		/* an object or nothing */
	P_EDGES,
	P_SOURCE,		/* where bytes come from */
	P_TARGET,		/* where they go */
	P_PLACE,		/* where the structure is, if not where it is best */
	P_AREA,			/* memory to be changed */
	P_FLAGS,		/* bits of the parameter's limit */
	P_BELOW,		/* a number below the parameter's limit */
	P_BYTES,		/* the size of a payload */
	P_OFFSET,
	P_SLOTS,
	P_SIZE,			/* of a structure */
	P_RESERVED,
	P_BITS,			/* 32: as a 32 bit program would */
	P_TIMES,		/* how often */
	P_FAIL,			/* which allocation or copy is to fail */
	P_NEXT,			/* how many of the lines that follow belong to this one */
	P_LIMIT,		/* a limit of bytes, objects, descriptors */
	P_COMMAND,		/* of an ioctl */
};

/**
 * struct parameter - a parameter of a call
 * @name: its name; NULL: its value stands alone, in front of the others
 * @type: what it is
 * @width: its bytes in the structure; 0: it is not there
 * @offset: where it is in the structure
 * @usual: its value when nothing is said
 * @limit: see its type
 */
struct parameter {
	const char *name;
	enum parameter_type type;
	unsigned int width;
	unsigned int offset;
	__u64 usual;
	__u64 limit;
};

/* The parameters that every operation has */
enum {
	V_SESSION,
	V_SIZE,
	V_AT,
	V_BITS,
	V_TIMES,
	V_FAIL,
	V_OWN,			/* the first of its own */
};

struct runner;

/**
 * struct call_kind - a call
 * @name: its name
 * @act: does it, returns 0 or a negative errno; NULL for an operation
 * @op: number of the operation
 * @size: size of its structure
 * @out: kind of register for the result, or NUMBER for none
 * @out_offset: where the result is in the structure
 * @batch: whether a BATCH may carry it
 * @errors: which errors it may give besides those that all may give, ended by 0
 * @weight: how often it is chosen
 * @parameters: how many
 * @parameter: them
 */
struct call_kind {
	const char *name;
	int (*act)(struct runner *runner, const struct call *call);
	unsigned int op;
	unsigned int size;
	enum value_kind out;
	unsigned int out_offset;
	bool batch;
	const int *errors;
	unsigned int weight;
	unsigned int parameters;
	struct parameter parameter[VALUES_MAX];
};

extern const struct call_kind call_kinds[];
extern const unsigned int call_kinds_count;

int call_kind_find(const char *name);
const struct call_kind *call_kind_of_op(unsigned int op);
bool call_may_give(const struct call_kind *kind, int error);

/* Parameters of the module that programs may change */
extern const char *const module_parameters[];
extern const unsigned int module_parameters_count;

#endif /* FUZZ_CALLS_H */
