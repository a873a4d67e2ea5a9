{{ claimed_keys('stg_product_versions', 'product_id') }}
