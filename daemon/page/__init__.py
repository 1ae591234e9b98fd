"""The page: live pictures and controls in the browser, served over HTTP."""
