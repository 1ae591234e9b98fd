"""The control plane over HTTP: page, API, events, metrics, health. One module a resource."""
