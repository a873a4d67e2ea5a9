{{ claimed_keys('stg_customer_versions', 'customer_id') }}
