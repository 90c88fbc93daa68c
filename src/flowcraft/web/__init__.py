"""What is served over HTTP: links that answer waits."""
