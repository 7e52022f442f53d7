package io.millrace.id;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.security.SecureRandom;
import java.util.HexFormat;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Makes and checks identifiers.
 *
 * <p>Events are named by UUIDv7 (RFC 9562), so that ids sort by time; knowledge is named by 128 bits of SHA-256 over what it is, so
 * that ingesting it again names it the same.
 */
public final class Ids {
    private static final SecureRandom RANDOM = new SecureRandom();
    private static final AtomicLong LAST = new AtomicLong();

    private Ids() {}

    /** A new UUIDv7, strictly increasing within this process: 48 bits of milliseconds, a 12-bit counter, 62 random bits. */
    public static String next() {
        long now = System.currentTimeMillis() << 12;
        long stamp = LAST.updateAndGet(last -> Math.max(now, last + 1));
        long high = (stamp >>> 12 << 16) | 0x7000L | (stamp & 0xfffL);
        long low = (RANDOM.nextLong() & 0x3fff_ffff_ffff_ffffL) | 0x8000_0000_0000_0000L;
        return new UUID(high, low).toString();
    }

    /** Whether {@code id} is a UUIDv7 in its canonical lower-case form. */
    public static boolean isEventId(String id) {
        if (id.length() != 36 || id.charAt(14) != '7' || "89ab".indexOf(id.charAt(19)) < 0) {
            return false;
        }
        for (int i = 0; i < 36; i++) {
            char c = id.charAt(i);
            boolean dash = i == 8 || i == 13 || i == 18 || i == 23;
            if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
                return false;
            }
        }
        return true;
    }

    /** When a UUIDv7 was made, milliseconds since the epoch. */
    public static long millisOf(String id) {
        return UUID.fromString(id).getMostSignificantBits() >>> 16;
    }

    /** The least UUIDv7 of a millisecond: ids made before it sort before this one. */
    public static String first(long millis) {
        return new UUID(millis << 16 | 0x7000L, 0x8000_0000_0000_0000L).toString();
    }

    /** 128 bits of SHA-256 over the length-prefixed parts, 32 hex digits. */
    public static String content(String... parts) {
        MessageDigest digest = sha256();
        for (String part : parts) {
            byte[] bytes = part.getBytes(StandardCharsets.UTF_8);
            // the length keeps ("ab", "c") and ("a", "bc") apart
            digest.update((bytes.length + ":").getBytes(StandardCharsets.US_ASCII));
            digest.update(bytes);
        }
        return HexFormat.of().formatHex(digest.digest(), 0, 16);
    }

    /** SHA-256 of a text's UTF-8 bytes, 64 hex digits. */
    public static String checksum(String text) {
        return HexFormat.of().formatHex(sha256().digest(text.getBytes(StandardCharsets.UTF_8)));
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }
}
