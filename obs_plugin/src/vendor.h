/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Registers the vendor "driftcam" with obs-websocket, if that is there: requests "stats", "set" and "preset". */
void vendor_register(void);
