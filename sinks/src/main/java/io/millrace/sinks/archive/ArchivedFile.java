package io.millrace.sinks.archive;

import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.annotation.JsonNaming;

/**
 * A line of the manifest: a finished file of one partition's records, in order.
 *
 * @param file path under the archive's directory, with forward slashes
 * @param topic full name of the topic
 * @param partition partition
 * @param firstOffset offset of the first record
 * @param lastOffset offset of the last record; offsets between may be missing, as on the log
 * @param count records, at least 1
 * @param minTimestamp earliest record timestamp, milliseconds since the epoch
 * @param maxTimestamp latest record timestamp, milliseconds since the epoch
 * @param bytes size of the file
 * @param sha256 of the file, hex
 */
@JsonNaming(PropertyNamingStrategies.SnakeCaseStrategy.class)
public record ArchivedFile(
        String file,
        String topic,
        int partition,
        long firstOffset,
        long lastOffset,
        long count,
        long minTimestamp,
        long maxTimestamp,
        long bytes,
        String sha256) {}
