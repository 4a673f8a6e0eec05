// SPDX-License-Identifier: GPL-2.0
/*
 * Orders in which n blocks are taken and given back, each as 2n steps: the number
 * of a block, which is taken the first time and given back the second. Blocks
 * are numbered as they are taken, so an order is a way of pairing 2n steps, and
 * there are (2n - 1)(2n - 3)...1 of them: 10,395 for 6 blocks. Those of fewer
 * blocks begin those of more.
 */
#include <linux/module.h>

#include "kunit.h"

/* In an emulated kernel with KASAN, 4 blocks (105 orders) take seconds. */
unsigned int pom_order_blocks = 4;
module_param_named(order_blocks, pom_order_blocks, uint, 0444);
MODULE_PARM_DESC(order_blocks, "KUnit: blocks whose orders are all tried (1 to 6, default 4)");

/**
 * pom_order_count - how many orders there are
 * @blocks: of how many blocks
 *
 * Return: the number.
 */
u32 pom_order_count(u32 blocks)
{
	u32 count = 1, i;

	for (i = 2 * blocks - 1; i > 1; i -= 2)
		count *= i;
	return count;
}

/**
 * pom_order_decode - the order of a number
 * @number: less than pom_order_count()
 * @blocks: how many, at most POM_ORDER_MOST
 * @order: 2 * @blocks steps
 */
void pom_order_decode(u32 number, u32 blocks, u8 *order)
{
	u32 block, ways, skip, first, second;

	memset(order, POM_ORDER_MOST, 2 * blocks);
	for (block = 0; block < blocks; block++) {
		ways = 2 * (blocks - block) - 1;
		skip = number % ways;
		number /= ways;
		for (first = 0; order[first] != POM_ORDER_MOST; first++)
			;
		order[first] = block;
		for (second = first + 1; order[second] != POM_ORDER_MOST || skip; second++)
			skip -= order[second] == POM_ORDER_MOST;
		order[second] = block;
	}
}

/**
 * pom_order_name - an order for people
 * @order: the order
 * @blocks: how many
 * @name: room for 2 * @blocks + 1 characters
 *
 * Return: @name: A is where the first block is taken, a where it is given back.
 */
char *pom_order_name(const u8 *order, u32 blocks, char *name)
{
	u32 seen = 0, i;

	for (i = 0; i < 2 * blocks; i++) {
		name[i] = (seen & BIT(order[i]) ? 'a' : 'A') + order[i];
		seen |= BIT(order[i]);
	}
	name[i] = '\0';
	return name;
}
