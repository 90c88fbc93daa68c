"""The ports on AWS: a queue in SQS, records, texts and locks in DynamoDB."""
