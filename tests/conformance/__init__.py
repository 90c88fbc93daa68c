"""The recorded behaviour of workflow blueprints, and the checker that compares with it."""
