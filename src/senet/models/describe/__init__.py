"""Descriptions of networks for people: their structure, their costs, and tables of both."""
