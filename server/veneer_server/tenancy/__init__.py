"""Who a request is from, what they may do, and which adapters exist for them."""
