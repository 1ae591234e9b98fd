/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Driftcam for OBS: live video through diffusion. The work is done by the daemon at the other end of the frame bus. */
#include "filter.h"
#include "output.h"
#include "instance.h"
#include "vendor.h"

OBS_DECLARE_MODULE()
OBS_MODULE_USE_DEFAULT_LOCALE("driftcam", "en-US")
OBS_MODULE_AUTHOR("The Driftcam authors")

MODULE_EXPORT const char *obs_module_name(void)
{
    return "Driftcam";
}

MODULE_EXPORT const char *obs_module_description(void)
{
    return obs_module_text("Description");
}

bool obs_module_load(void)
{
    instance_module_load();
    filter_register();
    output_register();
    blog(LOG_INFO, "[driftcam] plugin " DRIFTCAM_VERSION " loaded, built for libobs " LIBOBS_BUILT_FOR);
    return true;
}

void obs_module_post_load(void)
{
    vendor_register();
}

void obs_module_unload(void)
{
    instance_module_unload();
}
