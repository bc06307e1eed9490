"""Billing plans, usage, invoices and their payment."""
