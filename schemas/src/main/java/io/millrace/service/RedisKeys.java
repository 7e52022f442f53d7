package io.millrace.service;

/** Keys in Redis that more than one service uses. */
public final class RedisKeys {
    /** Counter that ends all entries of the response cache when it moves; absent counts as 0. */
    public static final String CACHE_EPOCH = "millrace:cache:epoch";

    private RedisKeys() {}
}
