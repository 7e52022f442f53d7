/** Tests of the log's clients against a broker, which the module of the clients has none of. */
@NullMarked
package io.millrace.routers.log;

import org.jspecify.annotations.NullMarked;
