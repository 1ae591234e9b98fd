"""`driftcam obs`: sets OBS up and drives it over its websocket. OBS itself loads the plugin of `obs_plugin/`."""
