/**
 * Sources of knowledge for Kafka Connect: git repositories, web pages and feeds, folders, and the mapping that makes documents of
 * any other connector's records.
 */
@NullMarked
package io.millrace.connect;

import org.jspecify.annotations.NullMarked;
