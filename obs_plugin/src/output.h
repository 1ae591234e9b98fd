/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

void output_register(void);
