"""The dashboard in a browser: a shop with workflows, a server with a worker, headless Chromium."""
