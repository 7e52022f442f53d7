/** What the services of Millrace have in common: a life. */
@NullMarked
package io.millrace.service;

import org.jspecify.annotations.NullMarked;
