"""AWS on this machine: emulators as child processes, installed when they are first needed.

ministack stands for SQS and DynamoDB, AWS's own DynamoDB Local for a second DynamoDB. Both listen
on 127.0.0.1 only, on a port that the system gives out. What they do otherwise than AWS is told in
README.md beside this file.
"""
