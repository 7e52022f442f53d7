/**
 * The archive: topics that expire, kept as compressed files that need neither Kafka nor the registry to be read.
 *
 * <pre>
 * manifest.jsonl                             one line per finished file: what is archived, and where to go on
 * millrace.decisions/0/00000000000000000000.avro
 *                    └ partition └ first offset
 * </pre>
 *
 * {@link io.millrace.sinks.archive.ArchiveSink} writes it, {@link io.millrace.sinks.archive.ArchiveReader} reads it.
 */
@NullMarked
package io.millrace.sinks.archive;

import org.jspecify.annotations.NullMarked;
