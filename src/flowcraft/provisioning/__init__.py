"""The resources of a fleet on AWS, and who may do what with them."""
