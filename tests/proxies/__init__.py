"""Behind a proxy: the README's configurations, run by the proxies themselves."""
